// The custom roles of ../roles.json: data actions only, so none of them can change a resource or a right.
targetScope = 'subscription'

@description('Told apart from the roles of other deployments by this; names of roles are unique in a tenant.')
param token string

@description('Ids of all subscriptions that the roles are assigned in.')
param subscriptions array

var roles = loadJsonContent('../roles.json')

resource definitions 'Microsoft.Authorization/roleDefinitions@2022-04-01' = [for role in roles: {
  name: guid(subscription().id, token, role.key)
  properties: {
    roleName: '${role.name} (${token})'
    description: role.description
    type: 'CustomRole'
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: role.dataActions
        notDataActions: []
      }
    ]
    assignableScopes: subscriptions
  }
}]

output backUpVaults string = guid(subscription().id, token, 'backUpVaults')
output restoreVaults string = guid(subscription().id, token, 'restoreVaults')
output replaceItems string = guid(subscription().id, token, 'replaceItems')
output drillVaults string = guid(subscription().id, token, 'drillVaults')
output addBlobs string = guid(subscription().id, token, 'addBlobs')
output pruneBlobs string = guid(subscription().id, token, 'pruneBlobs')
